package lib.hostpaths

import data.lib.containers
import data.lib.pod
import data.lib.volumes
import data.lib.windows

# Volumes outside of the allowed paths, by name.
outside(allowed) = {volume.name: path |
  volume := pod.spec.volumes[_]
  path := volume.hostPath.path
  not allowed_somehow(volume, allowed)
  not volumes.let_be(volume.name)
}

# Mounts that may write although their volume is allowed for reading only, as {container, volume}.
writable(allowed) = {{"container": container.name, "volume": volume.name} |
  volume := pod.spec.volumes[_]
  allowed_somehow(volume, allowed)
  not allowed_for_writing(volume, allowed)
  container := containers.checked[_].container
  mount := container.volumeMounts[_]
  mount.name == volume.name
  not mount.readOnly == true
}

allowed_somehow(volume, allowed) {
  within(volume.hostPath.path, allowed[_].pathPrefix)
}

allowed_for_writing(volume, allowed) {
  entry := allowed[_]
  not entry.readOnly == true
  within(volume.hostPath.path, entry.pathPrefix)
}

within(path, prefix) {
  inner := parts(path)
  outer := parts(prefix)
  array.slice(inner, 0, count(outer)) == outer
  count([part | part := inner[_]; part == ".."]) == 0
}

# "C:\" stands for all paths of a Windows host, those of other drives and of pipes too: so the parameter's description.
within(_, prefix) {
  windows.is_meant
  parts(prefix) == ["c:"]
}

# A path's parts; those of Windows in lower case, C: being the drive where none is named.
parts(path) = [part | part := split(path, "/")[_]; not part == ""; not part == "."] {
  not windows.is_meant
}

parts(path) = [part | part := split(rooted(lower(replace(path, "\\", "/"))), "/")[_]; not part == ""; not part == "."] {
  windows.is_meant
}

rooted(path) = path {
  regex.match("^([a-z]:|//)", path)
} else = concat("", ["c:/", path])
