package lib.volumes

import data.lib.containers

# A volume is its containers' if some mount it, and exempt if each of those has an excluded image.
let_be(name) {
  users := [entry.container | entry := containers.listed[_]; mounts(entry.container, name)]
  count(users) > 0
  count([user | user := users[_]; not containers.excluded_image(user)]) == 0
}

mounts(container, name) {
  container[["volumeMounts", "volumeDevices"][_]][_].name == name
}
