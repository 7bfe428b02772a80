package block_host_namespace

import data.lib.containers
import data.lib.pod

violation[{"msg": msg}] {
  field := ["hostPID", "hostIPC", "hostNetwork"][_]
  pod.spec[field] == true
  not containers.pod_excluded
  msg := sprintf("The pod must not share the host's namespace: %v is true.", [field])
}
