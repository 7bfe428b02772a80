"""Fetches the templates that a cluster's policies name, for a mirror: on a machine that reaches the template store.

azpolicy explain --cluster-id ID -o json | python examples/mirror/fetch.py templates > pins.yaml

`templates` then has each at the path of the store, NAME/vN/template.yaml: serve it over https, or mount it. pins.yaml
has the SHA-256 of each, as a value of the chart: the cluster takes no other text, wherever it comes from.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import urllib.parse
import urllib.request
from pathlib import Path

FOLDER_ON_THE_STORE = "/kubernetes/"


def main() -> int:
    """Writes the files and prints their pins; 1 with a line for each URL that is not one of the store's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--store", help="base URL to fetch from, instead of the host that each policy names")
    given = parser.parse_args()
    members = json.load(sys.stdin)["members"]
    urls = sorted({each["template"]["url"] for each in members if each["template"] and each["template"]["url"]})
    foreign = [url for url in urls if FOLDER_ON_THE_STORE not in urllib.parse.urlsplit(url).path]
    print("templatePins:")
    for url in urls:
        if url not in foreign:
            print(f"  {url}: {fetch(url, given.folder, given.store)}")
    for url in foreign:
        print(f"{url} is not on the template store: a mirror cannot have it", file=sys.stderr)
    return 1 if foreign else 0


def fetch(url: str, folder: Path, store: str | None) -> str:
    """Fetches one template into the folder; its SHA-256."""
    path = urllib.parse.urlsplit(url).path.partition(FOLDER_ON_THE_STORE)[2]
    with urllib.request.urlopen(f"{store}/{path}" if store else url, timeout=30) as response:
        text: bytes = response.read()
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text)
    return hashlib.sha256(text).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
