package allowed_host_paths

import data.lib.containers
import data.lib.hostpaths
import data.lib.pod
import data.lib.request

allowed_paths = object.get(input.parameters, "allowedHostPaths", []) {
  not pod.windows
}

allowed_paths = object.get(input.parameters, "windowsAllowedHostPaths", []) {
  pod.windows
}

# Excluded images free from both rules, excluded names only from that of reading.
mounted = {mount.name |
  container := containers.all[_]
  not containers.excluded_by_image(container)
  mount := container[hostpaths.fields[_]][_]
}

written = {mount.name |
  container := containers.all[_]
  not containers.excluded(container)
  mount := container[hostpaths.fields[_]][_]
  hostpaths.writes(mount)
}

violation[{"msg": msg}] {
  volume := hostpaths.volumes[_]
  mounted[volume.name]
  not hostpaths.allowed(volume, allowed_paths)
  msg := hostpaths.not_allowed(volume, request.name, allowed_paths)
}

violation[{"msg": msg}] {
  volume := hostpaths.volumes[_]
  written[volume.name]
  hostpaths.for_reading(volume, allowed_paths)
  msg := hostpaths.not_read_only(volume, request.name, allowed_paths)
}
