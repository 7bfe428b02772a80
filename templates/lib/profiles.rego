package lib.profiles

# A seccompProfile or appArmorProfile as an annotation writes it.
written(field) = {"RuntimeDefault": "runtime/default", "Unconfined": "unconfined"}[field.type]

written(field) = profile {
  field.type == "Localhost"
  profile := concat("/", ["localhost", field.localhostProfile])
}
