"""The group of commands: a table of names and summaries. A command's module is imported once somebody uses it.

The command NAME is the function NAME of `controller.cli.NAME`. So `azpolicy --help` and the completion of a command's
name import none of them, and no command pays for what another one needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from collections.abc import Mapping

# Each is the first sentence of its command's help, which a test compares.
SUMMARIES: Final = {
    "apply": "Apply the plan once and report each change.",
    "check": "Say whether the objects in FILE, DIR or standard input (-) would pass what Azure assigns.",
    "compare": "Set the compliance that Azure holds beside Gatekeeper's own audit, member by member.",
    "completion": "Print the script that completes azpolicy's commands and options in a shell.",
    "explain": "Show what each member of each ASSIGNMENT became, or why it is not enforced and what to do.",
    "export": "Save what Azure says of the cluster as a snapshot in the folder DIR, for --snapshot.",
    "forecast": "Say which workloads of the cluster would fail at their next restart, and by which policy.",
    "migrate": "Move from the AKS add-on to azpolicy, or back, a step at a time.",
    "plan": "Show what apply would change in the cluster, with a diff per object.",
    "render": "Print the objects that the assignments mean, as YAML.",
    "resume": "End a suspension now.",
    "run": "Keep the cluster as Azure says until told to stop: the operator.",
    "status": "Show how the operator is doing and what became of the policies of each ASSIGNMENT.",
    "suspend": "Have the operator read and report, but write nothing, until a moment that has to be given.",
    "sync": "Have the operator poll the source and compare everything now, and wait until it has.",
    "uninstall": "Take away everything that azpolicy made in the cluster: nothing of it is enforced any more.",
    "why": "Say which policy denied a request, who decides about it, and the smallest change that it would let pass.",
}


class LazyGroup(click.Group):
    """Lists stand-ins that know their summary alone; the command that is used takes the place of its stand-in."""

    def __init__(self, *, summaries: Mapping[str, str], **attributes: Any) -> None:
        stand_ins = {name: click.Command(name, short_help=summary) for name, summary in summaries.items()}
        super().__init__(commands=stand_ins, **attributes)

    def load(self, name: str) -> click.Command:
        """The command of this name; KeyError where there is none."""
        stand_in = self.commands[name]
        command: click.Command = getattr(import_module(f"controller.cli.{stand_in.name}"), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does it, with the command itself in place of its stand-in."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, self.load(name) if name else None, rest


cli: Final = LazyGroup(
    summaries=SUMMARIES,
    name="azpolicy",
    help="""Azure Policy for any Kubernetes cluster that runs Gatekeeper.

    Reads the policy assignments that apply to a cluster and makes the ConstraintTemplates, constraints and mutators
    that they mean.
    """,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
click.version_option(package_name="azure-policy-sync", message="%(prog)s %(version)s")(cli)
