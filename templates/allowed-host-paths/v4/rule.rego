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
mounts = [mount |
  container := containers.all[_]
  not containers.excluded_by_image(container)
  mount := hostpaths.mounts(container)[_]
]

named_mounts = [mount |
  container := containers.all[_]
  not containers.excluded(container)
  mount := hostpaths.mounts(container)[_]
]

violation[{"msg": msg}] {
  volume := hostpaths.used(mounts)[_]
  not hostpaths.allowed(volume, allowed_paths)
  msg := hostpaths.not_allowed(volume, request.name, allowed_paths)
}

violation[{"msg": msg}] {
  volume := hostpaths.used(hostpaths.writing(named_mounts))[_]
  hostpaths.for_reading(volume, allowed_paths)
  msg := hostpaths.not_read_only(volume, request.name, allowed_paths)
}
