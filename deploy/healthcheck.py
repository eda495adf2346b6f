"""For containers: exit 0 where the address answers 200, 1 otherwise. Needs nothing but Python."""

import os
import ssl
import sys
from http.client import HTTPException
from urllib.request import HTTPSHandler, ProxyHandler, build_opener

scheme = "https" if os.environ.get("SAFER_TLS_CERTIFICATE") else "http"
url = sys.argv[1] if len(sys.argv) > 1 else f"{scheme}://127.0.0.1:{os.environ.get('SAFER_PORT', '8000')}/readyz"
# It asks its own container, by an address for which no certificate is made.
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
try:
    build_opener(ProxyHandler({}), HTTPSHandler(context=context)).open(url, timeout=4).close()
except (OSError, HTTPException) as error:
    sys.exit(f"{url}: {error}")
