package block_host_namespace

import data.lib.containers
import data.lib.pod
import data.lib.request

violation[{"msg": msg}] {
  not pod.windows
  pod.spec[["hostPID", "hostIPC"][_]]
  containers.pod_judged
  msg := sprintf("Sharing the host namespace is not allowed: %v", [request.name])
}
