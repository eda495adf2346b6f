"""For containers: exit 0 where the address answers 200, 1 otherwise. Needs nothing but Python."""

import os
import sys
from http.client import HTTPException
from urllib.request import ProxyHandler, build_opener

url = sys.argv[1] if len(sys.argv) > 1 else f"http://127.0.0.1:{os.environ.get('SAFER_PORT', '8000')}/readyz"
try:
    build_opener(ProxyHandler({})).open(url, timeout=4).close()
except (OSError, HTTPException) as error:
    sys.exit(f"{url}: {error}")
