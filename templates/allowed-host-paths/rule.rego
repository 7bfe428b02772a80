package allowed_host_paths

import data.lib.containers
import data.lib.hostpaths
import data.lib.request

allowed_paths = object.get(input.parameters, "allowedHostPaths", [])

# Each volume of the host counts, mounted or not. One entry that fits is enough: one for writing lifts one for reading.
violation[{"msg": msg}] {
  volume := hostpaths.volumes[_]
  not allowed(volume)
  msg := hostpaths.not_allowed(volume, request.name, allowed_paths)
}

allowed(volume) {
  entry := allowed_paths[_]
  hostpaths.starts(hostpaths.linux_parts(volume.hostPath.path), hostpaths.linux_parts(entry.pathPrefix))
  not forbidden(volume, entry)
}

forbidden(volume, entry) {
  entry.readOnly == true
  mount := containers.without_ephemeral[_].volumeMounts[_]
  mount.name == volume.name
  hostpaths.writes(mount)
}
