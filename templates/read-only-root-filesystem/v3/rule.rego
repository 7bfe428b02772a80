package read_only_root_filesystem

import data.lib.containers
import data.lib.pod
import data.lib.request

# The API server refuses the field on pods whose operating system is Windows.
violation[{"msg": msg}] {
  not pod.windows
  not pod.os_windows
  container := containers.all[_]
  not container.securityContext.readOnlyRootFilesystem == true
  not containers.excluded(container)
  msg := sprintf(
    "Readonly root filesystem is required for container. pod:'%v', container:'%v'",
    [request.name, container.name],
  )
}
