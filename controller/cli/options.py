"""Options that several commands share, read once into frozen values: a command gets those, never the context of click.

Each can be given by an environment variable too, `AZPOLICY_` and its name, so that a deployment needs no command line.
"""

from __future__ import annotations

import functools
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from controller.azure.clouds import CloudName
from controller.azure.credentials import CredentialKind
from controller.azure.declared import TYPE_NAMES, DeclaredCluster
from controller.cluster.prune import PruneLimit
from controller.config import AzureOptions, ClusterOptions, SourceOptions
from controller.gatekeeper.expansion import Expansion
from controller.gatekeeper.naming import MANAGED_BY, OwnershipMarks

if TYPE_CHECKING:
    from collections.abc import Callable

    Command = TypeVar("Command", bound=Callable[..., Any])


_WAIT = (
    click.option("--wait/--no-wait", default=True, show_default=True, help="Wait for the operator's answer."),
    click.option(
        "--timeout",
        type=click.FloatRange(min=0.1),
        default=120.0,
        show_default=True,
        metavar="SECONDS",
        help="How long to wait for it.",
    ),
)


class _Tag(click.ParamType[tuple[str, str]]):
    """K=V; in a variable one on each line, as both may contain spaces."""

    name = "tag"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        name, equals, text = str(value).partition("=")
        if not (name and equals):
            self.fail(f"{value!r} is not a tag: give NAME=VALUE", param, ctx)
        return name, text

    def split_envvar_value(self, rv: str) -> list[str]:
        return [line for line in rv.splitlines() if line]


_DECLARED = (
    click.option(
        "--cluster-scope",
        metavar="SCOPE",
        default="",
        envvar="AZPOLICY_CLUSTER_SCOPE",
        help="Instead of --cluster-id, for a cluster that Azure does not know: the subscription, resource group or "
        "management group that it is declared to stand in. What is assigned at or above it applies.",
    ),
    click.option(
        "--cluster-name",
        metavar="NAME",
        default="",
        envvar="AZPOLICY_CLUSTER_NAME",
        help="The declared cluster's name, a part of its id.",
    ),
    click.option(
        "--cluster-type",
        type=click.Choice(TYPE_NAMES),
        envvar="AZPOLICY_CLUSTER_TYPE",
        help="What policies take the declared cluster for. Without it: connectedClusters.",
    ),
    click.option(
        "--cluster-location",
        metavar="REGION",
        default="",
        envvar="AZPOLICY_CLUSTER_LOCATION",
        help="The Azure region that policies see, such as westeurope.",
    ),
    click.option(
        "--cluster-tag",
        "cluster_tags",
        type=_Tag(),
        metavar="NAME=VALUE",
        multiple=True,
        envvar="AZPOLICY_CLUSTER_TAGS",
        help="A tag that policies see. Can be repeated; in the variable there is one on each line.",
    ),
)

managed_by_option = click.option(
    "--managed-by",
    metavar="VALUE",
    default=MANAGED_BY,
    show_default=True,
    envvar="AZPOLICY_MANAGED_BY",
    help="Value of the managed-by label and the installed-by annotations.",
)
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
    *_DECLARED,
    click.option(
        "--templates",
        metavar="bundle|url|PATH|URL",
        default="bundle",
        show_default=True,
        envvar="AZPOLICY_TEMPLATES",
        help="Where templates come from: those that come with azpolicy; the URL that each definition names, with the "
        "bundle behind it; a folder; or the base URL of a mirror. The latter two hold NAME/vN/template.yaml for "
        "Azure's template stores, and HOST/PATH for other hosts.",
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
    managed_by_option,
    click.option(
        "--adopt",
        "adopted",
        metavar="VALUE",
        multiple=True,
        envvar="AZPOLICY_ADOPT",
        help="Take over the cluster and its objects from an installation with this --managed-by value; stop that one "
        "before. Can be repeated.",
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
    click.option(
        "--inventory-kind",
        "inventory_kinds",
        metavar="found|GROUP/VERSION/KIND",
        multiple=True,
        envvar="AZPOLICY_INVENTORY_KINDS",
        help="What Gatekeeper replicates for templates whose Rego looks objects up without asking for them: a kind "
        "such as networking.k8s.io/v1/Ingress or v1/Service; found: each kind that the Rego names, but Secrets. "
        "Whatever is replicated, messages of policies can show. Can be repeated.",
    ),
    click.option(
        "--expansion",
        type=click.Choice([each.value for each in Expansion]),
        default=Expansion.ASSIGNED.value,
        show_default=True,
        envvar="AZPOLICY_EXPANSION",
        help="When Gatekeeper makes the pods of a workload as it is applied, so that the workload is denied or warned "
        "about: assigned, where a policy's source is All or Generated; off; all, for every policy on pods, which is "
        "more than Azure says.",
    ),
)
_AZURE = (
    click.option(
        "--cloud",
        type=click.Choice([each.value for each in CloudName]),
        default=CloudName.PUBLIC.value,
        show_default=True,
        envvar="AZPOLICY_CLOUD",
        help="The Azure cloud that is read where no snapshot is given; custom needs --cloud-endpoint.",
    ),
    click.option("--cloud-endpoint", default="", metavar="URL", envvar="AZPOLICY_CLOUD_ENDPOINT", help="Custom: ARM."),
    click.option(
        "--cloud-audience",
        default="",
        metavar="URL",
        envvar="AZPOLICY_CLOUD_AUDIENCE",
        help="Custom: token audience.",
    ),
    click.option(
        "--cloud-authority", default="", metavar="URL", envvar="AZPOLICY_CLOUD_AUTHORITY", help="Custom: issues tokens."
    ),
    click.option(
        "--cloud-ca-file", default="", metavar="PATH", envvar="AZPOLICY_CLOUD_CA_FILE", help="Custom: trusted CA."
    ),
    click.option(
        "--credential",
        type=click.Choice([each.value for each in CredentialKind]),
        default=CredentialKind.AZURE_CLI.value,
        show_default=True,
        envvar="AZPOLICY_CREDENTIAL",
        help="As whom Azure is read; ids, secrets and files come from the AZURE_* variables of the Azure SDK.",
    ),
    click.option(
        "--api-version",
        "api_versions",
        metavar="NAME=VERSION",
        multiple=True,
        envvar="AZPOLICY_API_VERSIONS",
        help="Another api-version for policy, exemptions, enrollments, managed-clusters, connected-clusters, "
        "policy-states, management-groups, resource-groups or subscriptions: a sovereign cloud may lag behind. "
        "Can be repeated.",
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

operator_namespace_option = click.option(
    "-n",
    "--namespace",
    metavar="NAME",
    envvar="AZPOLICY_NAMESPACE",
    help="Namespace of the operator. Without it: wherever its Lease is found, else gatekeeper-system.",
)
gator_option = click.option(
    "--gator",
    metavar="PATH",
    default="gator",
    show_default=True,
    envvar="AZPOLICY_GATOR",
    help="Gatekeeper's command line, which judges.",
)
strict_option = click.option("--strict", is_flag=True, help="Exit with 2 if anything stays unresolved.")


def source_options(command: Command) -> Command:
    """Gives a command the argument `source`, a SourceOptions."""

    def gather(values: dict[str, Any]) -> SourceOptions:
        marks = OwnershipMarks(values.pop("managed_by"), frozenset(values.pop("adopted")))
        azure = AzureOptions(**{each.name: values.pop(each.name) for each in fields(AzureOptions)})
        declared = DeclaredCluster(
            scope=values.pop("cluster_scope"),
            name=values.pop("cluster_name"),
            type=values.pop("cluster_type") or "",
            location=values.pop("cluster_location"),
            tags=values.pop("cluster_tags"),
        )
        names = SourceOptions.__dataclass_fields__.keys() - {"marks", "azure", "declared", "expansion"}
        return SourceOptions(
            marks=marks,
            expansion=Expansion(values.pop("expansion")),
            azure=azure,
            declared=None if declared == DeclaredCluster("", "") else declared,
            **{name: values.pop(name) for name in names},
        )

    return _gathered(command, "source", (*_SOURCE, *_AZURE), gather)


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


def wait_options(command: Command) -> Command:
    """Gives a command the argument `wait_s`: how long to wait for the operator's answer, None for not at all."""

    def gather(values: dict[str, Any]) -> float | None:
        seconds: float = values.pop("timeout")
        return seconds if values.pop("wait") else None

    return _gathered(command, "wait_s", _WAIT, gather)


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
