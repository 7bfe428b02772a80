package container_no_privilege_escalation

import data.lib.containers

violation[{"msg": msg}] {
  container := containers.without_ephemeral[_]
  not container.securityContext.allowPrivilegeEscalation == false
  msg := sprintf("Privilege escalation container is not allowed: %v", [container.name])
}
