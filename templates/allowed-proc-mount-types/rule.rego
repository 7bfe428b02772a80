package allowed_proc_mount_types

import data.lib.containers

# Case does not count, neither in the parameter nor in the pod. Any parameter but Unmasked is as good as Default.
violation[{"msg": msg}] {
  not unmasked_allowed
  container := containers.without_ephemeral[_]
  lower(container.securityContext.procMount) != "default"
  msg := sprintf("ProcMount type is not allowed, container: %v. Allowed procMount types: default", [container.name])
}

unmasked_allowed {
  lower(input.parameters.procMount) == "unmasked"
}
