package windows_block_container_admin

import data.lib.containers
import data.lib.windows

violation[{"msg": msg}] {
  container := containers.checked[_].container
  windows.user(container) == "containeradministrator"
  msg := sprintf("Container %v must not run as ContainerAdministrator: set another runAsUserName, such as ContainerUser.", [container.name])
}
