"""A Hub on this machine with small stand-ins for the models that the README names, to try its commands as printed.

    make hub

Prints the environment to type into another terminal, and runs until it is stopped. The stand-ins have the names of
the real repositories and random weights of about a million parameters.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import threading
from pathlib import Path

from tests.hub_server import User, serve

TOKEN = "hf_local"
ENCODER, DECODER = "google/siglip-base-patch16-224", "meta-llama/Llama-3.2-11B-Vision-Instruct"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="medpairs hub", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--root", type=Path, default=Path("outputs/hub"), help="folder of the repositories (default: %(default)s)"
    )
    parser.add_argument("--port", type=int, default=8765, help="port to listen on (default: %(default)s)")
    arguments = parser.parse_args(argv)

    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    owners = {TOKEN: User("me", orgs=("org", "google", "meta-llama"))}
    try:
        hub = serve(arguments.root, owners, arguments.port, open_pages=True)
    except OSError as error:
        print(f"The Hub cannot start: {error}", file=sys.stderr)
        return 1
    environment = {
        "HF_ENDPOINT": hub.endpoint,
        "HF_TOKEN": TOKEN,
        "HF_HOME": str((arguments.root / "hf_home").resolve()),
        "HF_HUB_DISABLE_XET": "1",
    }
    stock(environment)
    print("\nIn another terminal:\n")
    for name, value in environment.items():
        print(f"export {name}={value}")
    print(f"\nEverything pushed can be seen at {hub.endpoint}; Ctrl-C ends it.", flush=True)
    stopped.wait()
    hub.stop()
    return 0


def stock(environment: dict[str, str]) -> None:
    """Pushes the stand-ins, with tokenizers trained on the texts of the synthetic sample."""
    os.environ |= environment  # read by the libraries when they are imported, below
    from huggingface_hub import HfApi

    from hub_datasets.filesystem.source_folder import Folder
    from hub_datasets.generate_sample import generate
    from hub_datasets.records import RawRecord
    from hub_datasets.sources import SOURCES
    from modeling.tiny_checkpoints import write_tiny_decoder, write_tiny_encoder
    from trainers.decoder.data.collator import CHAT_TEMPLATE

    api = HfApi()
    if api.repo_exists(ENCODER) and api.repo_exists(DECODER):
        return
    with tempfile.TemporaryDirectory() as scratch:
        folders = generate(Path(scratch) / "sample", scale=0.3)
        read = {source.name: source.read for source in SOURCES}
        records = [record for name, folder in folders.items() for record in read[name](Folder(folder))]
        said = [
            text
            for record in records
            if isinstance(record, RawRecord)
            for text in (record.text, record.question, record.answer)
            if text
        ]
        write_tiny_encoder(Path(scratch) / "encoder", said)
        write_tiny_decoder(Path(scratch) / "decoder", said, CHAT_TEMPLATE)
        for repository, name in ((ENCODER, "encoder"), (DECODER, "decoder")):
            api.create_repo(repository, exist_ok=True)
            api.upload_folder(repo_id=repository, folder_path=Path(scratch) / name)


if __name__ == "__main__":
    sys.exit(main())
