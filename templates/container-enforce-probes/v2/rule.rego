package container_enforce_probes

import data.lib.containers

violation[{"msg": msg}] {
  container := containers.lasting[_].container
  probe := input.parameters.enforceProbes[_]
  not probed(container, probe)
  msg := sprintf("Container %v must have a %v with exec, grpc, httpGet or tcpSocket.", [container.name, probe])
}

probed(container, probe) {
  container[probe][["exec", "grpc", "httpGet", "tcpSocket"][_]] != null
}
