package allowed_proc_mount_types

import data.lib.containers
import data.lib.pod

# Case does not count, neither in the parameter nor in the pod. Any parameter but Unmasked is as good as Default.
violation[{"msg": msg}] {
  not pod.windows
  not unmasked_allowed
  container := containers.all[_]
  type := container.securityContext.procMount
  lower(type) != "default"
  not containers.excluded(container)
  msg := sprintf("ProcMount type is not allowed, container: %v. Allowed procMount types: default", [container.name])
}

unmasked_allowed {
  lower(input.parameters.procMount) == "unmasked"
}
