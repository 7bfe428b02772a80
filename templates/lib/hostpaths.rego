package lib.hostpaths

import data.lib.pod

volumes = [volume | volume := pod.spec.volumes[_]; volume.hostPath]

# Where a container names the volumes that it uses: a block device gives access as well.
fields = ["volumeMounts", "volumeDevices"]

writes(mount) {
  not mount.readOnly == true
}

allowed(volume, entries) {
  within(volume.hostPath.path, entries[_].pathPrefix)
}

# One entry for reading is enough: another one that allows writing does not lift it.
for_reading(volume, entries) {
  entry := entries[_]
  entry.readOnly == true
  within(volume.hostPath.path, entry.pathPrefix)
}

not_allowed(volume, pod_name, entries) = sprintf(
  "HostPath volume %v is not allowed, pod: %v. Allowed path: %v",
  [volume, pod_name, entries],
)

not_read_only(volume, pod_name, entries) = sprintf(
  "HostPath volume %v does not meet the readonly requirement, pod: %v. Allowed path: %v",
  [volume, pod_name, entries],
)

# Whether a path is the prefix or below it, part by part. On Linux, a part is what it is: `.` and an empty one too.
within(path, prefix) {
  not pod.windows
  starts(linux_parts(path), linux_parts(prefix))
}

within(path, prefix) {
  pod.windows
  inner := windows_parts(path)
  starts(inner, windows_parts(prefix))
  # The API server refuses this part between slashes only.
  not up(inner)
}

# `C:\` stands for all paths of a Windows host, those of other drives and of pipes too: so the parameter's description.
within(_, prefix) {
  pod.windows
  windows_parts(prefix) == ["c:"]
}

starts(inner, outer) {
  array.slice(inner, 0, count(outer)) == outer
}

linux_parts("/") = []

linux_parts(path) = split(trim(path, "/"), "/") {
  path != "/"
}

# In lower case, as Windows ignores case; C: is the drive where none is named. An empty prefix allows nothing.
windows_parts(path) = [part | part := split(rooted(spelled), "/")[_]; not {"", "."}[part]] {
  path != ""
  spelled := lower(replace(path, `\`, "/"))
}

rooted(path) = path {
  regex.match("^([a-z]:|//)", path)
} else = concat("", ["c:/", path])

up(parts) {
  parts[_] == ".."
}
