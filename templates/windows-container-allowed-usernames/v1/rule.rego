package windows_container_allowed_usernames

import data.lib.containers
import data.lib.images
import data.lib.windows

default allowed_users = []

allowed_users = input.parameters.allowedUserNames

violation[{"msg": msg}] {
  windows.is_meant
  container := containers.checked[_].container
  name := windows.user(container)
  not allowed(name)
  msg := sprintf("Container %v must not run as the Windows user %v; allowed: %v.", [container.name, name, allowed_users])
}

allowed(name) {
  images.matches(name, windows.plain(allowed_users[_]))
}
