package container_no_privilege

import data.lib.containers

violation[{"msg": msg}] {
  container := containers.checked[_].container
  container.securityContext.privileged == true
  msg := sprintf("Container %v must not run privileged.", [container.name])
}
