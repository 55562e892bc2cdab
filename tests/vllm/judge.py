"""Runs on the checking environment: does vLLM 0.33 accept these configurations?

stdin: JSON, [{"name", "config": path of a vllm.yaml or null, "args": [...], "env": {...}}, ...].
stdout: one JSON line a case, {"name", "ok", "detail"}; the detail is the error, or what vLLM chose.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys

ANSWERS = sys.stdout
sys.stdout = sys.stderr  # vLLM prints; only answers may reach the real stdout

from vllm import envs  # noqa: E402
from vllm.engine.arg_utils import AsyncEngineArgs  # noqa: E402
from vllm.entrypoints.common.cli_args import (  # noqa: E402
    make_arg_parser,
    validate_parsed_serve_args,
)
from vllm.usage.usage_lib import UsageContext  # noqa: E402
from vllm.utils.argparse_utils import FlexibleArgumentParser  # noqa: E402


class Rejected(Exception):
    """vLLM would not start."""


def serve_parser():
    """The parser of ``vllm serve``; as a subcommand, so that --config works."""
    parser = FlexibleArgumentParser(prog="vllm")
    make_arg_parser(parser.add_subparsers(dest="subparser").add_parser("serve"))
    return parser


def parse(parser, argv):
    """vLLM's reading of the command line; Rejected where it would exit."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            args = parser.parse_args(["serve", *argv])
            args.model = args.model_tag or args.model
            validate_parsed_serve_args(args)
    except SystemExit as error:
        raise Rejected(f"exit {error.code}: {short(said.getvalue())}") from None
    except Exception as error:
        raise Rejected(f"{type(error).__name__}: {short(str(error))}") from error
    return args


def engine_config(args):
    """The whole configuration, as the API server builds it before it starts workers."""
    engine = AsyncEngineArgs.from_cli_args(args)
    try:
        return engine.create_engine_config(UsageContext.OPENAI_API_SERVER, headless=args.headless)
    except Exception as error:
        raise Rejected(f"{type(error).__name__}: {short(str(error))}") from error


def short(text):
    """The telling lines of an error: no usage block, no link to pydantic's site."""
    text = text[text.rfind("error: ") :] if "error: " in text else text
    lines = [line.strip() for line in text.splitlines()]
    return " / ".join(line for line in lines if line and not line.startswith("For further"))[:400]


def chosen(config):
    """What vLLM made of it, for the eye."""
    backend = config.attention_config.backend
    return {
        "quantization": config.model_config.quantization,
        "attention": backend.name if backend else "auto",
        "moe": str(config.kernel_config.moe_backend),
        "kv": config.cache_config.cache_dtype,
        "fraction": config.cache_config.gpu_memory_utilization,
        "context": config.model_config.max_model_len,
        "sequences": config.scheduler_config.max_num_seqs,
        "graphs": config.compilation_config.cudagraph_mode.name,
        "speculative": config.speculative_config and config.speculative_config.method,
    }


def judge(parser, case):
    """The answer to one case."""
    unknown = [
        name
        for name in case.get("env", {})
        if case.get("lint", True) and name.startswith("VLLM_")
        if name not in envs.environment_variables
    ]
    if unknown:
        return False, f"unknown environment: {', '.join(unknown)}"
    argv = ["--config", case["config"]] if case.get("config") else []
    try:
        return True, chosen(engine_config(parse(parser, [*argv, *case.get("args", [])])))
    except Rejected as error:
        return False, str(error)


def main():
    parser = serve_parser()
    before = dict(os.environ)
    for case in json.load(sys.stdin):
        os.environ.update(case.get("env", {}))
        try:
            ok, detail = judge(parser, case)
        finally:
            os.environ.clear()
            os.environ.update(before)
        print(json.dumps({"name": case["name"], "ok": ok, "detail": detail}), file=ANSWERS)


if __name__ == "__main__":
    main()
