package lib.windows

import data.lib.containers
import data.lib.pod

# A field of the container's windowsOptions, else of the pod's: field by field, as the kubelet does. Null is absent.
option(container, field) = value {
  value := container.securityContext.windowsOptions[field]
  value != null
} else = value {
  value := pod.spec.securityContext.windowsOptions[field]
  value != null
}

# The user in lower case, as Windows ignores case, without the name that Windows gives to the domain of containers' users.
# Without any, images run as ContainerUser: so the parameter's description of windows-container-allowed-usernames.
user(container) = name {
  name := plain(option(container, "runAsUserName"))
} else = "containeruser"

plain(name) = trim_prefix(lower(name), "user manager\\")

# Whether the pod is for Windows: it says so, or asks for such nodes, or has settings that only Windows has.
is_meant {
  pod.windows
}

is_meant {
  not pod.spec.os.name
  asks_for_nodes
}

is_meant {
  not pod.spec.os.name
  count(pod.spec.securityContext.windowsOptions) > 0
}

is_meant {
  not pod.spec.os.name
  count(containers.listed[_].container.securityContext.windowsOptions) > 0
}

labels = {"kubernetes.io/os", "beta.kubernetes.io/os"}

asks_for_nodes {
  pod.spec.nodeSelector[labels[_]] == "windows"
}

asks_for_nodes {
  affinity := pod.spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution
  wish := affinity.nodeSelectorTerms[_].matchExpressions[_]
  labels[wish.key]
  wish.operator == "In"
  wish.values == ["windows"]
}
