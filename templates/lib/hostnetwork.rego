package lib.hostnetwork

import data.lib.containers
import data.lib.pod

# Whether the pod uses the host's network without permission.
unpermitted {
  pod.spec.hostNetwork == true
  not input.parameters.allowHostNetwork == true
  not containers.pod_excluded
}

# The host port of an entry of `ports`. 0 is how Kubernetes writes none; on the host's network each container port is
# one, unless another is set.
port(entry) = entry.hostPort {
  is_number(entry.hostPort)
  entry.hostPort != 0
} else = entry.containerPort {
  pod.spec.hostNetwork == true
}
