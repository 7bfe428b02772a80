package windows_block_host_process

import data.lib.containers
import data.lib.windows

violation[{"msg": msg}] {
  container := containers.checked[_].container
  windows.option(container, "hostProcess") == true
  msg := sprintf("Container %v must not be a process of the Windows host: hostProcess is true.", [container.name])
}
