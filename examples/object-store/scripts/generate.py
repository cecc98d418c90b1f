"""Makes the Python code of wire/storage.proto, beside it."""

import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).parents[1]

PROTOS = ["objectstore/wire/storage.proto"]


def main() -> None:
    """Run the compiler that grpcio-tools has."""
    argv = [sys.executable, "-m", "grpc_tools.protoc", "-I", ".", "--python_out=.", "--grpc_python_out=."]
    subprocess.run([*argv, *PROTOS], cwd=TOP, check=True)


if __name__ == "__main__":
    main()
