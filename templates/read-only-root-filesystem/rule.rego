package read_only_root_filesystem

import data.lib.containers

violation[{"msg": msg}] {
  container := containers.without_ephemeral[_]
  not container.securityContext.readOnlyRootFilesystem == true
  msg := sprintf("only read-only root filesystem container is allowed: %v", [container.name])
}
