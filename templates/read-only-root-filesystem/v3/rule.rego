package read_only_root_filesystem

import data.lib.containers
import data.lib.pod

violation[{"msg": msg}] {
  not pod.windows
  container := containers.checked[_].container
  not container.securityContext.readOnlyRootFilesystem == true
  msg := sprintf("Container %v must set securityContext.readOnlyRootFilesystem to true.", [container.name])
}
