"""The JSON Schema of `stages.toml`, for editors that check and complete such a file.

python docs/scripts/schema.py            # print it
python docs/scripts/schema.py --write    # bring docs/stages.schema.json up to date
"""

import argparse
import json
from pathlib import Path

from kvsync.ci.project.model import Project

FILE = Path(__file__).parents[1] / "stages.schema.json"


def schema() -> str:
    """Return the schema as text."""
    made = Project.model_json_schema()
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "stages.toml of kvsync-ci"}
    return json.dumps({**made, **head}, indent=1) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    if parser.parse_args().write:
        FILE.write_text(schema())
    else:
        print(schema(), end="")
