package allowed_host_paths

import data.lib.hostpaths
import data.lib.windows

default allowed = []

allowed = input.parameters.allowedHostPaths {
  not windows.is_meant
}

allowed = input.parameters.windowsAllowedHostPaths {
  windows.is_meant
}

violation[{"msg": msg}] {
  path := hostpaths.outside(allowed)[volume]
  msg := sprintf("Volume %v must not use the host path %v; allowed: %v.", [volume, path, allowed])
}

violation[{"msg": msg}] {
  mount := hostpaths.writable(allowed)[_]
  msg := sprintf("Container %v must mount volume %v with readOnly: true.", [mount.container, mount.volume])
}
