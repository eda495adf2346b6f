"""Write the dashboards with Grafana's own SDK: python deploy/grafana/build.py [FOLDER]."""

import sys
from pathlib import Path

import audit
import engine
import refusals
import vllm_servers

PAGES = (refusals.PAGE, engine.PAGE, audit.PAGE, vllm_servers.PAGE)


def main(folder: Path) -> None:
    """Write one file for each dashboard."""
    for page in PAGES:
        (folder / f"{page.uid}.json").write_text(page.json())


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "dashboards")
