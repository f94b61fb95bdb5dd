package graphward

import rego.v2

is_admin if "admin" in input.subject.roles

is_authenticated if input.subject.authenticated

allow["*"]["*"] if is_admin

allow.Query.me if is_authenticated

allow.Query.user if input.args.id == input.subject.id

error.Query.user := {"code": "NOT_YOU", "message": "You may only read yourself"}

allow.Query.users := true

allow.Query.posts := true

allow.Query.node := true

allow.Query.search := true

allow.Query.boom := true

allow.Mutation.login := true

allow.Mutation.rename if is_authenticated

allow.User["*"] := true

allow.User.email if is_authenticated

allow.User.ssn if is_admin

allow.Post["*"] := true

allow.UserConnection["*"] := true

allow.UserEdge["*"] := true

allow.PageInfo["*"] := true

allow_input.UserFilter.ssn if is_admin

allow_input.RenameInput.role if is_admin

allow_argument.Query.posts.orderBy if input.value == "TITLE"

introspection if is_admin
