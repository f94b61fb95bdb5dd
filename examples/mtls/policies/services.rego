# Which service may read what. A service is the SPIFFE ID of its certificate.
package graphward

import rego.v2

is_service if input.subject.method == "certificate"

is_billing if input.subject.id == "spiffe://shop.example/billing"

allow.Query.product if is_service

allow.Query.products if is_service

allow.ProductConnection["*"] if is_service

allow.ProductEdge["*"] if is_service

allow.PageInfo["*"] if is_service

allow.Product.id if is_service

allow.Product.name if is_service

allow.Product.price if is_service

allow.Product.costPrice if is_billing
