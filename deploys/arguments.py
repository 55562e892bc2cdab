"""Would the very image that will serve take the arguments and the environment? Asked before
anything stops, once for a release: its digest covers image, arguments and environment.
"""

from __future__ import annotations

import layout
from pyinfra import host
from pyinfra.api.command import FunctionCommand, StringCommand
from pyinfra.api.deploy import deploy
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.api.state import State

from deploys import invocation, programs, provenance, remote
from deploys.host_state import Watch, current, forget
from deploys.operations import Commands, File, tell, write_command
from fleet import origin, render
from fleet.settings import Settings

PATIENCE_S = 30  # for a connection that breaks
BOUND_S = 600  # importing vLLM takes 10 s, on a cold disk some minutes


def accepted_path(digest: str) -> str:
    """The note that the image of release ``digest`` took its arguments."""
    return str(layout.STATE / "accepted" / digest)


def watch(settings: Settings) -> Watch:
    return Watch(files=(accepted_path(render.release(settings).digest),))


def _question(settings: Settings) -> StringCommand:
    request = {
        "config": render.release(settings).files["vllm.yaml"],
        "env": render.serve_environment(settings),
    }
    argv = ["timeout", str(BOUND_S), "docker", "run", "--rm", "--interactive", "--network", "none"]
    argv += ["--read-only", "--tmpfs", "/tmp:exec,mode=1777", "--user", render.USER]
    argv += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--env", "HOME=/tmp"]
    argv += ["--label", "vllm-fleet.job=arguments", "--entrypoint", "python3", settings.vllm_image]
    return StringCommand(*argv, "-", _stdin=programs.stdin("check_arguments", request))


def _ask(state: State, host: Host, settings: Settings) -> bool:
    host.log("the image reads its arguments …")
    try:
        lines = remote.insist(
            host, _question(settings), patience_s=PATIENCE_S, timeout_s=BOUND_S + 30
        )
        answer = remote.parse(lines)
    except (remote.Refused, remote.Lost) as error:
        return tell(host, f"arguments: {settings.vllm_image} could not be asked: {error}")
    where = provenance.where(host, invocation.inventory_file())
    for problem in answer.get("problems", []):
        place = origin.of_problem(settings, problem, where)
        image = f"{settings.vllm_image} (vLLM {answer['version']})"
        tell(host, f"{place}: refused by {image}: {problem}; mend it, or take another image")
    return bool(answer.get("ok"))


@operation()
def accepted(settings: Settings) -> Commands:
    """The image's own parser has taken the release's arguments, and knows every VLLM_ name."""
    path = accepted_path(render.release(settings).digest)
    if path in current(settings).files:
        host.noop("the image took these arguments before")
        return
    forget()
    yield FunctionCommand(_ask, (settings,), {})
    yield write_command({path: File(settings.vllm_image + "\n")})


@deploy("Arguments")
def run(*, settings: Settings) -> None:
    accepted(name="Have the image read its arguments", settings=settings)
