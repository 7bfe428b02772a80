package selinux

import data.lib.containers
import data.lib.pod
import data.lib.request
import data.lib.selinux

settings[[place, options]] {
  options := pod.spec.securityContext.seLinuxOptions
  place := sprintf("pod: %v", [request.name])
}

settings[[place, options]] {
  container := containers.without_ephemeral[_]
  options := container.securityContext.seLinuxOptions
  place := sprintf("pod: %v, container %v", [request.name, container.name])
}

violation[{"msg": msg}] {
  settings[[place, options]]
  not selinux.listed(options, input.parameters.allowedSELinuxOptions)
  msg := sprintf(
    "SELinux options is not allowed, %v. Allowed options: %v",
    [place, input.parameters.allowedSELinuxOptions],
  )
}
