package block_host_namespace

import data.lib.pod
import data.lib.request

violation[{"msg": msg}] {
  pod.spec[["hostPID", "hostIPC"][_]]
  msg := sprintf("Sharing the host namespace is not allowed: %v", [request.name])
}
