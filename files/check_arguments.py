"""Would this image's vLLM take these arguments and this environment? Runs inside the image.

    docker run --rm --interactive --network none --entrypoint python3 IMAGE -

with this source and ``main({...})`` on stdin: {"config": text of vllm.yaml, "env": {...}}. Prints
one JSON line {"ok", "version", "problems"}. Needs no GPU and no model: it builds no engine.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.resources
import io
import json
import os
import tempfile
from collections.abc import Callable, Collection
from typing import Any

# Where vLLM keeps `vllm serve`'s parser: 0.33, 0.32, before.
PARSERS = (
    "vllm.entrypoints.common.cli_args",
    "vllm.entrypoints.launchers.cli_args",
    "vllm.entrypoints.openai.cli_args",
)
FLEXIBLE = ("vllm.utils.argparse_utils", "vllm.utils")
STAND_IN = "standin"  # the lab's image without vLLM has a server of this name
Parse = Callable[[list[str]], object]


class Unusable(Exception):
    """The image has nothing that could parse the arguments."""


def main(request: dict[str, Any]) -> None:
    """Answer ``request`` on stdout; what vLLM prints on the way goes to stderr."""
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        version, parse, known = judges()
        problems = refused(parse, request["config"])
        problems += unknown(request["env"], known)
    except Unusable as error:
        version, problems = None, [str(error)]
    json.dump({"ok": not problems, "version": version, "problems": problems}, answer)
    answer.write("\n")
    answer.close()


def judges() -> tuple[str, Parse, Collection[str]]:
    """What the image is, its parser, and the names of environment variables it knows."""
    # Without a GPU vLLM cannot tell for what it would parse.
    os.environ.setdefault("VLLM_TARGET_DEVICE", "cpu")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    try:
        vllm = importlib.import_module("vllm")
    except ImportError as error:
        return stand_in(error)
    envs = importlib.import_module("vllm.envs")
    return vllm.__version__, vllm_parser(), envs.environment_variables


def vllm_parser() -> Parse:
    """`vllm serve` as vLLM itself parses it, as a subcommand so that --config works."""
    arguments = first(PARSERS, "make_arg_parser")
    parser = first(FLEXIBLE, "FlexibleArgumentParser").FlexibleArgumentParser(prog="vllm")
    arguments.make_arg_parser(parser.add_subparsers(dest="subparser").add_parser("serve"))

    def parse(argv: list[str]) -> None:
        arguments.validate_parsed_serve_args(parser.parse_args(["serve", *argv]))

    return parse


def first(names: tuple[str, ...], attribute: str) -> Any:
    """The first of the modules that exists and has ``attribute``."""
    for name in names:
        with contextlib.suppress(ImportError):
            module = importlib.import_module(name)
            if hasattr(module, attribute):
                return module
    raise Unusable(f"this image's vLLM has no {attribute}, looked in: {', '.join(names)}")


def stand_in(error: ImportError) -> tuple[str, Parse, Collection[str]]:
    """The lab's server without vLLM: its own table of flags and names."""
    try:
        arguments = importlib.import_module(f"{STAND_IN}.arguments")
    except ImportError:
        raise Unusable(f"the image has no vLLM that can be imported: {error}") from None
    known = importlib.resources.files(STAND_IN).joinpath("environment.json").read_text()
    return STAND_IN, arguments.parse, json.loads(known)


def refused(parse: Parse, config: str) -> list[str]:
    """The parser's complaint about the text of a vllm.yaml, as one line; or nothing."""
    said = io.StringIO()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "vllm.yaml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(config)
        try:
            with contextlib.redirect_stderr(said):
                parse(["--config", path])
        except SystemExit as error:
            return [f"vllm.yaml: {telling(said.getvalue()) or f'vLLM exits {error.code}'}"]
        except Exception as error:  # vLLM raises whatever its validators raise
            return [f"vllm.yaml: {type(error).__name__}: {telling(str(error))}"]
    return []


def telling(text: str) -> str:
    """The part of an error that says what is wrong, as one line: no usage block."""
    return " ".join(text.rpartition("error: ")[2].split())[:500]


def unknown(env: dict[str, str], known: Collection[str]) -> list[str]:
    """A line for each VLLM_* name that this image does not know: it would do nothing."""
    problems = []
    for name in sorted(env):
        if name.startswith("VLLM_") and name not in known:
            near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.8)
            hint = f"; did you mean {near[0]}?" if near else ""
            problems.append(f"vllm.env: {name}: unknown to this image's vLLM{hint}")
    return problems
