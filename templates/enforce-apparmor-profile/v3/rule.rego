package enforce_apparmor_profile

import data.lib.containers
import data.lib.pod
import data.lib.request
import data.lib.security

violation[{"msg": msg}] {
  not pod.windows
  container := containers.all[_]
  not containers.excluded(container)
  not allowed(profile_of(container))
  msg := sprintf(
    "AppArmor profile is not allowed, pod: %v, container: %v. Allowed profiles: %v",
    [request.name, container.name, input.parameters.allowedProfiles],
  )
}

allowed(profile) {
  profile == input.parameters.allowedProfiles[_]
}

allowed(profile) {
  startswith(profile, "localhost/")
  "localhost/*" == input.parameters.allowedProfiles[_]
}

# The annotation, else what the field of the container or the pod says in an annotation's words, else the runtime's default.
profile_of(container) = profile {
  profile := pod.annotation(concat("/", ["container.apparmor.security.beta.kubernetes.io", container.name]))
} else = "unconfined" {
  security.setting(container, "appArmorProfile").type == "Unconfined"
} else = profile {
  profile := concat("/", ["localhost", security.setting(container, "appArmorProfile").localhostProfile])
} else = "runtime/default"
