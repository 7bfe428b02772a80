package container_no_privilege_escalation

import data.lib.containers
import data.lib.pod

violation[{"msg": msg}] {
  not pod.windows
  container := containers.checked[_].container
  not container.securityContext.allowPrivilegeEscalation == false
  msg := sprintf("Container %v must set securityContext.allowPrivilegeEscalation to false.", [container.name])
}
