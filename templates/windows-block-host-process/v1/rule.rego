package windows_block_host_process

import data.lib.containers
import data.lib.windows

# On every pod, as Pod Security Standards say: one that does not ask for Windows may come to a Windows node all the same.
violation[{"msg": msg}] {
  container := containers.all[_]
  not containers.excluded_by_image(container)
  windows.option(container, "hostProcess") == true
  msg := sprintf("Container <%v> must not be a process of the Windows host: hostProcess is true.", [container.name])
}
