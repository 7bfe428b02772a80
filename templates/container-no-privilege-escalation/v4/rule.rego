package container_no_privilege_escalation

import data.lib.containers
import data.lib.pod
import data.lib.security

violation[{"msg": msg}] {
  not pod.windows
  container := containers.all[_]
  escalates(container)
  not containers.excluded(container)
  msg := sprintf("Privilege escalation container is not allowed: %v", [container.name])
}

escalates(container) {
  security.escalates(container)
}

# The API server refuses the field on pods whose operating system is Windows.
escalates(container) {
  input.parameters.forcePrivilegeEscalationToBeFalse == true
  not pod.os_windows
  not container.securityContext.allowPrivilegeEscalation == false
}
