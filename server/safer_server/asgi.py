"""The app of one worker process, made from the environment alone: `safer_server.asgi:create` as a factory.

`safer serve --workers` starts it; so can any ASGI server that runs several processes.
"""

import logging
import multiprocessing
import os
import signal
import sys
import threading

import typer
from fastapi import FastAPI
from uvicorn.config import STARTUP_FAILURE

from safer_server.app import create_app
from safer_server.cli.options import engine_of, policies_of, settings_with

logger = logging.getLogger(__name__)


def create() -> FastAPI:
    """Build the app; where that fails, end the process with the code that tells uvicorn not to try again."""
    threading.Thread(target=_follow_the_supervisor, daemon=True).start()
    try:
        settings = settings_with()
        policies = policies_of(settings)
        return create_app(settings, engine_of(settings, policies), policies)
    except typer.Exit:
        pass  # it has said why
    except Exception:
        # The edge of the process: whatever it was would meet every worker that is started in place of this one.
        logger.exception("the worker cannot start")
    sys.exit(STARTUP_FAILURE)


def _follow_the_supervisor() -> None:
    """Drain this worker when its supervisor is gone without a word: an orphan would hold the port for ever."""
    supervisor = multiprocessing.parent_process()
    if supervisor is not None:
        supervisor.join()
        os.kill(os.getpid(), signal.SIGTERM)
