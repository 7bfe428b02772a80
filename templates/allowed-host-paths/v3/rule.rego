package allowed_host_paths

import data.lib.containers
import data.lib.hostpaths
import data.lib.pod
import data.lib.request

allowed_paths = object.get(input.parameters, "allowedHostPaths", [])

mounts = [mount |
  container := containers.all[_]
  not containers.excluded(container)
  mount := container[hostpaths.fields[_]][_]
]

mounted = {mount.name | mount := mounts[_]}

written = {mount.name | mount := mounts[_]; hostpaths.writes(mount)}

# A volume of the host that a container mounts has to be in an allowed path. Windows has other paths; v4 judges them.
violation[{"msg": msg}] {
  not pod.windows
  volume := hostpaths.volumes[_]
  mounted[volume.name]
  not hostpaths.allowed(volume, allowed_paths)
  msg := hostpaths.not_allowed(volume, request.name, allowed_paths)
}

violation[{"msg": msg}] {
  not pod.windows
  volume := hostpaths.volumes[_]
  written[volume.name]
  hostpaths.for_reading(volume, allowed_paths)
  msg := hostpaths.not_read_only(volume, request.name, allowed_paths)
}
