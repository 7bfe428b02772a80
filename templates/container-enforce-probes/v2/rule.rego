package container_enforce_probes

import data.lib.containers
import data.lib.pod
import data.lib.request

# Neither init containers nor sidecars need probes.
violation[{"msg": msg}] {
  container := pod.spec.containers[_]
  not containers.excluded(container)
  probe := input.parameters.enforceProbes[_]
  not probed(container, probe)
  msg := sprintf(
    "Container <%v> in your Pod <%v> has no <%v>. Required probes: %v",
    [container.name, request.name, probe, input.parameters.enforceProbes],
  )
}

# gRPC does not count.
probed(container, probe) {
  container[probe][["tcpSocket", "httpGet", "exec"][_]]
}
