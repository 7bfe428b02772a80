package allowed_proc_mount_types

import data.lib.containers

violation[{"msg": msg}] {
  not unmasked_allowed
  container := containers.checked[_].container
  type := container.securityContext.procMount
  not {null, "Default"}[type]
  msg := sprintf("Container %v must not have the proc mount type %v; allowed: Default.", [container.name, type])
}

unmasked_allowed {
  lower(input.parameters.procMount) == "unmasked"
}
