package allowed_seccomp_profiles

import data.lib.containers
import data.lib.pod

listed = {entry | entry := input.parameters.allowedProfiles[_]}

# What an entry allows besides itself, as fields and annotations spell the same profile differently.
also = {
  "RuntimeDefault": ["runtime/default", "docker/default"],
  "runtime/default": ["RuntimeDefault"],
  "docker/default": ["RuntimeDefault"],
  "Unconfined": ["unconfined"],
  "unconfined": ["Unconfined"],
}

allowed_profiles = (listed | {profile | profile := also[listed[_]][_]}) | {"Localhost" | startswith(listed[_], "localhost")}

violation[{"msg": msg}] {
  not pod.windows
  not pod.os_windows
  not listed["*"]
  container := containers.all[_]
  not containers.excluded(container)
  found := profile_of(container)
  not allowed(found)
  msg := sprintf(
    "Seccomp profile %v is not allowed for container '%v'. Found at: %v. Allowed profiles: %v",
    [described(found), container.name, found.at, allowed_profiles],
  )
}

# A field of the pod goes before a container's annotation.
profile_of(container) = found {
  found := written(container.securityContext.seccompProfile, "container securityContext")
} else = found {
  found := written(pod.spec.securityContext.seccompProfile, "pod securityContext")
} else = found {
  found := annotated(concat("/", ["container.seccomp.security.alpha.kubernetes.io", container.name]))
} else = found {
  found := annotated("seccomp.security.alpha.kubernetes.io/pod")
} else = {"profile": "not configured", "at": "no explicit profile found"}

written(field, place) = {"profile": field.type, "file": object.get(field, "localhostProfile", ""), "at": place}

annotated(key) = {"profile": pod.annotation(key), "file": "", "at": sprintf("annotation %v", [key])}

allowed(found) {
  not startswith(lower(found.profile), "localhost")
  allowed_profiles[found.profile]
}

# The entry Localhost alone allows no file.
allowed(found) {
  found.profile == "Localhost"
  local_file(concat("/", ["localhost", found.file]))
}

allowed(found) {
  startswith(found.profile, "localhost/")
  local_file(found.profile)
}

local_file(_) {
  listed["localhost/*"]
}

local_file(profile) {
  listed[profile]
}

described(found) = sprintf("'%v' with file '%v'", [found.profile, found.file]) {
  found.profile == "Localhost"
} else = sprintf("'%v'", [found.profile])
