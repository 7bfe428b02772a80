"""Options that several commands share, read once into frozen values: a command gets those, never the context of click.

Each can be given by an environment variable too, `AZPOLICY_` and its name, so that a deployment needs no command line.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from controller.cluster.plan import PruneLimit
from controller.gatekeeper.naming import MANAGED_BY, Marks

if TYPE_CHECKING:
    from collections.abc import Callable

    Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """Where policies and templates come from, and what their objects carry; `snapshot` None means Azure itself."""

    snapshot: Path | None
    cluster_id: str | None
    templates: str
    template_hosts: tuple[str, ...]
    template_pins: tuple[str, ...]
    template_cache: Path | None
    marks: Marks
    excluded_namespaces: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """Which cluster to talk to; None leaves it to the kubeconfig rules that kubectl follows."""

    kubeconfig: Path | None
    context: str | None


_SOURCE = (
    click.option(
        "--snapshot",
        type=click.Path(path_type=Path),
        envvar="AZPOLICY_SNAPSHOT",
        help="A JSON file, or a folder of them, with assignments, definitions and the cluster, instead of Azure.",
    ),
    click.option(
        "--cluster-id",
        metavar="ID",
        envvar="AZPOLICY_CLUSTER_ID",
        help="Azure resource id of the cluster (managedClusters or connectedClusters). "
        "Without it: the only cluster in the snapshot.",
    ),
    click.option(
        "--templates",
        metavar="bundle|url|PATH|URL",
        default="bundle",
        show_default=True,
        envvar="AZPOLICY_TEMPLATES",
        help="Where templates come from: those that come with azpolicy; the URL that each definition names, with the "
        "bundle behind it; a folder; or the base URL of a mirror. The latter two hold NAME/vN/template.yaml.",
    ),
    click.option(
        "--template-host",
        "template_hosts",
        metavar="HOST",
        multiple=True,
        envvar="AZPOLICY_TEMPLATE_HOSTS",
        help="A further host that templates may be fetched from, besides Azure's template stores. Can be repeated.",
    ),
    click.option(
        "--template-pin",
        "template_pins",
        metavar="URL=SHA256",
        multiple=True,
        envvar="AZPOLICY_TEMPLATE_PINS",
        help="Use nothing but the text with this digest for this URL, wherever it is found. Can be repeated.",
    ),
    click.option(
        "--template-cache",
        type=click.Path(path_type=Path, file_okay=False),
        envvar="AZPOLICY_TEMPLATE_CACHE",
        help="A folder that keeps fetched templates, so that a start without the network still has the last good ones.",
    ),
    click.option(
        "--managed-by",
        metavar="VALUE",
        default=MANAGED_BY,
        show_default=True,
        envvar="AZPOLICY_MANAGED_BY",
        help="Value of the managed-by label and the installed-by annotations.",
    ),
    click.option(
        "--exclude-namespace",
        "excluded_namespaces",
        metavar="NAMESPACE",
        multiple=True,
        envvar="AZPOLICY_EXCLUDE_NAMESPACES",
        help="A namespace that no policy looks at, besides kube-system, gatekeeper-system and azure-arc; "
        "the one that azpolicy itself runs in belongs here. Can be repeated.",
    ),
)
_CLUSTER = (
    click.option(
        "--kubeconfig",
        type=click.Path(path_type=Path),
        help="Path of the kubeconfig file. Without it: KUBECONFIG, else the pod's own account, else ~/.kube/config.",
    ),
    click.option("--context", metavar="NAME", help="Context in the kubeconfig file. Without it: its current one."),
)

_PRUNE = (
    click.option(
        "--prune-limit",
        "percent",
        type=click.IntRange(0, 100),
        default=30,
        show_default=True,
        metavar="PERCENT",
        envvar="AZPOLICY_PRUNE_LIMIT",
        help="Refuse deletions that Azure does not prove when they are more than this part of the managed objects "
        "(10 objects or more).",
    ),
    click.option(
        "--force-prune",
        "forced",
        is_flag=True,
        help="Do refused deletions, this once.",
    ),
)

strict_option = click.option("--strict", is_flag=True, help="Exit with 2 if anything stays unresolved.")


def source_options(command: Command) -> Command:
    """Gives a command the argument `source`, a SourceOptions."""

    def gather(values: dict[str, Any]) -> SourceOptions:
        marks = Marks(values.pop("managed_by"))
        names = SourceOptions.__dataclass_fields__.keys() - {"marks"}
        return SourceOptions(marks=marks, **{name: values.pop(name) for name in names})

    return _gathered(command, "source", _SOURCE, gather)


def cluster_options(command: Command) -> Command:
    """Gives a command the argument `cluster`, a ClusterOptions."""

    def gather(values: dict[str, Any]) -> ClusterOptions:
        return ClusterOptions(values.pop("kubeconfig"), values.pop("context"))

    return _gathered(command, "cluster", _CLUSTER, gather)


def prune_options(command: Command) -> Command:
    """Gives a command the argument `limit`, a PruneLimit."""

    def gather(values: dict[str, Any]) -> PruneLimit:
        return PruneLimit(percent=values.pop("percent"), forced=values.pop("forced"))

    return _gathered(command, "limit", _PRUNE, gather)


def _gathered(
    command: Command, name: str, options: tuple[Callable[[Any], Any], ...], gather: Callable[[dict[str, Any]], object]
) -> Command:
    @functools.wraps(command)
    def with_value(**values: Any) -> Any:
        gathered = gather(values)
        return command(**{name: gathered}, **values)

    # Click shows options in the order of their decorators, which are applied from the last to the first.
    wrapped: Any = with_value
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[no-any-return]
