package lib.capabilities

# What a container adds or drops (`verb`), in one spelling.
named(container, verb) = {plain(name) | name := container.securityContext.capabilities[verb][_]}

listed(names) = {plain(name) | name := names[_]}

# Runtimes take names with and without CAP_, in any case.
plain(name) = trim_prefix(upper(name), "CAP_")

# Both words mean every capability.
any_of(names) {
  names[["ALL", "*"][_]]
}
