package allowed_seccomp_profiles

import data.lib.containers
import data.lib.images
import data.lib.pod
import data.lib.profiles

allowed_profiles = {canonical(profile) | profile := input.parameters.allowedProfiles[_]}

violation[{"msg": msg}] {
  not pod.windows
  container := containers.checked[_].container
  profile := canonical(profile_of(container))
  not allowed(profile)
  msg := sprintf("Container %v must not use the seccomp profile %v; allowed: %v.", [container.name, profile, sort(allowed_profiles)])
}

allowed(profile) {
  images.matches(profile, allowed_profiles[_])
}

# Kubernetes' order; a container that says nothing runs unconfined.
profile_of(container) = profile {
  profile := profiles.written(container.securityContext.seccompProfile)
} else = profile {
  profile := pod.annotation(concat("/", ["container.seccomp.security.alpha.kubernetes.io", container.name]))
} else = profile {
  profile := profiles.written(pod.spec.securityContext.seccompProfile)
} else = profile {
  profile := pod.annotation("seccomp.security.alpha.kubernetes.io/pod")
} else = "unconfined"

# The old name of the runtime's profile.
canonical("docker/default") = "runtime/default"

canonical(profile) = profile {
  profile != "docker/default"
}
