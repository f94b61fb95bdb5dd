# Who may select which field. A rule's head is the field's place in the schema. For each field the first of
# `allow.Type.field`, `allow.Type["*"]` and `allow["*"]["*"]` that exists decides; without any, the field is denied.
package graphward

import rego.v2

allow["*"]["*"] if is_admin

# --- the shop window: everybody ---

allow.Query.product := true

allow.Query.products := true

allow.Query.categories := true

allow.Query.posts := true

allow.Query.post := true

allow.Query.search := true

allow.PageInfo["*"] := true

allow.Category["*"] := true

allow.ProductConnection["*"] := true

allow.ProductEdge["*"] := true

allow.Product["*"] := true

allow.Product.costPrice if is_staff

allow.Product.supplierStatus if is_staff

allow.Review["*"] := true

allow.Post["*"] := true

allow.PostConnection["*"] := true

allow.PostEdge["*"] := true

allow.Comment["*"] := true

# --- people ---

allow.Query.me if is_authenticated

allow.Query.user if is_self or is_staff

error.Query.user := {"code": "NOT_YOU", "message": "You may only ask for yourself."}

allow.Query.users if is_staff

# What everybody may know of anybody. A user is reached from posts, comments and reviews too, so what only the user
# may see has no place here.
allow.User.id := true

allow.User.name := true

allow.User.bio := true

allow.User.joined if is_authenticated

allow.User.posts if is_authenticated

allow.User.followers if is_authenticated

allow.User["*"] if is_staff

# For nobody, not even through the fallback.
allow.User.passwordHash := false

allow.User.ssn := false

error.User.ssn := {"code": "NEVER", "message": "Nobody reads this over the API."}

allow.UserConnection["*"] if is_staff

allow.UserEdge["*"] if is_staff

allow.InternalNote["*"] if is_staff

allow.Query.internalNotes if is_staff

# --- orders: staff looks at all of them, a customer at what the own mutation returns ---

allow.Query.order if is_staff

allow.Order["*"] if is_authenticated

allow.Order.paymentToken := false

allow.OrderLine["*"] if is_authenticated

allow.Address["*"] if is_authenticated

# --- changes ---

allow.Mutation.login := true

allow.Session["*"] := true

allow.Mutation.updateProfile if is_authenticated

allow.Mutation.createPost if is_authenticated

allow.Mutation.addComment if is_authenticated

allow.Mutation.reviewProduct if is_authenticated

allow.Mutation.placeOrder if is_authenticated

allow.Mutation.cancelOrder if is_staff

allow.Mutation.publishProduct if is_staff

allow.Mutation.deleteUser if is_admin
