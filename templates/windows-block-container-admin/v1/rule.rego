package windows_block_container_admin

import data.lib.containers
import data.lib.security
import data.lib.windows

violation[{"msg": msg}] {
  windows.judged
  container := containers.without_ephemeral[_]
  not containers.excluded_by_image(container)
  runs_as_administrator(container)
  msg := sprintf("Container <%v> has ContainerAdministrator runAsUsername.", [container.name])
}

runs_as_administrator(container) {
  windows.administrator(windows.named_user(container))
}

# Without a name, it is the user of most images.
runs_as_administrator(container) {
  not windows.named_user(container)
  not unprivileged(container)
}

unprivileged(container) {
  security.setting(container, "runAsNonRoot") == true
}

unprivileged(container) {
  windows.nanoserver(container)
}
