"""Fetches the templates that a cluster's policies name, for a mirror: on a machine that reaches where they are.

azpolicy explain --cluster-id ID -o json | python examples/mirror/fetch.py templates > pins.yaml

`templates` then has each where a mirror has it: NAME/vN/template.yaml for those of Azure's template store, HOST/PATH
for those of another host. Serve it over https, or mount it. pins.yaml has the SHA-256 of each, as a value of the chart:
the cluster takes no other text, wherever it comes from. Templates of other hosts are named only once azpolicy has read
them: azpolicy explain --templates url --template-host HOST.

It needs the Python that azpolicy is installed in.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import urllib.request
from pathlib import Path

from controller.gatekeeper.sources import held_path


def main() -> int:
    """Writes the files and prints their pins; 1 with a line for each URL that a mirror cannot have."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--store", help="another mirror to fetch from, instead of the host that each policy names")
    given = parser.parse_args()
    members = json.load(sys.stdin)["members"]
    urls = sorted({each["template"]["url"] for each in members if each["template"] and each["template"]["url"]})
    held = {url: held_path(url) for url in urls}
    print("templatePins:")
    for url, path in held.items():
        if path is None:
            print(f"{url}: a mirror holds nothing by this address", file=sys.stderr)
        else:
            print(f"  {url}: {fetch(f'{given.store}/{path}' if given.store else url, given.folder / path)}")
    return 1 if None in held.values() else 0


def fetch(url: str, file: Path) -> str:
    """Fetches one template into its file; its SHA-256."""
    with urllib.request.urlopen(url, timeout=30) as response:
        text: bytes = response.read()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text)
    return hashlib.sha256(text).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
