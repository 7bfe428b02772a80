package enforce_apparmor_profile

import data.lib.containers
import data.lib.images
import data.lib.pod
import data.lib.profiles

violation[{"msg": msg}] {
  not pod.windows
  container := containers.checked[_].container
  profile := profile_of(container)
  not allowed(profile)
  msg := sprintf("Container %v must not use the AppArmor profile %v; allowed: %v.", [container.name, profile, allowed_profiles])
}

default allowed_profiles = []

allowed_profiles = input.parameters.allowedProfiles

allowed(profile) {
  images.matches(profile, allowed_profiles[_])
}

# The kubelet's order; a container that says nothing gets the runtime's default profile.
profile_of(container) = profile {
  profile := profiles.written(container.securityContext.appArmorProfile)
} else = profile {
  profile := pod.annotation(concat("/", ["container.apparmor.security.beta.kubernetes.io", container.name]))
  profile != ""
} else = profile {
  profile := profiles.written(pod.spec.securityContext.appArmorProfile)
} else = "runtime/default"
