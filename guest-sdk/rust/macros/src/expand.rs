//! Reads the `impl` block and writes the code. All paths in it are absolute, so nothing needs to be in scope.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};
use syn::spanned::Spanned;
use syn::{
    Attribute, Error, FnArg, GenericArgument, ImplItem, ItemImpl, ItemTrait, Pat, PathArguments, ReceiverKind, Result,
    ReturnType, Signature, TraitItem, Type, Visibility,
};

/// A method that can be called.
struct Method {
    name: Ident,
    docs: Vec<Attribute>,
    args: Vec<(Ident, Type)>,
    /// The type inside `Result`, or the whole type.
    answer: Type,
    is_async: bool,
    fallible: bool,
}

pub(crate) fn facet(options: TokenStream, item: TokenStream) -> Result<TokenStream> {
    match options.to_string().as_str() {
        "" => whole(syn::parse2(item)?),
        "stub" => stub_of_trait(&syn::parse2(item)?),
        other => Err(Error::new(
            options.span(),
            format!("unknown option `{other}`; there is only `stub`, for traits"),
        )),
    }
}

fn whole(block: ItemImpl) -> Result<TokenStream> {
    if let Some((path, _)) = &block.trait_ {
        return Err(Error::new(
            path.span(),
            "#[facet] is for the methods of the type itself, not of a trait",
        ));
    }
    if !block.generics.params.is_empty() {
        return Err(Error::new(block.generics.span(), "a facet class cannot be generic"));
    }
    let this = &block.self_ty;
    let name = name_of(this)?;
    let (mut methods, mut start, mut fetch, mut alarm, mut outbound) = (Vec::new(), None, None, None, None);
    for item in &block.items {
        let ImplItem::Fn(function) = item else { continue };
        let signature = &function.sig;
        match signature.ident.to_string().as_str() {
            "start" if signature.receiver().is_none() => start = Some(signature),
            "fetch" if signature.receiver().is_some() => fetch = Some(signature),
            "alarm" if signature.receiver().is_some() => alarm = Some(signature),
            "outbound" if signature.receiver().is_some() => outbound = Some(signature),
            _ if matches!(function.vis, Visibility::Public(_)) && signature.receiver().is_some() => {
                methods.push(Method::new(signature, &function.attrs)?);
            }
            _ => {}
        }
    }

    let start = match start {
        None => quote!(::std::result::Result::Ok(<#this as ::std::default::Default>::default())),
        Some(signature) => {
            let wait = signature.asyncness.map(|_| quote!(.await));
            let call = quote!(<#this>::start() #wait);
            if answer_of(&signature.output).1 {
                call
            } else {
                quote!(::std::result::Result::Ok(#call))
            }
        }
    };
    let fetch = fetch.map(|signature| {
        let wait = signature.asyncness.map(|_| quote!(.await));
        quote! {
            async fn fetch(
                &self,
                request: ::facetd_sdk::http::Request,
            ) -> ::facetd_sdk::Result<::facetd_sdk::http::Response> {
                <#this>::fetch(self, request) #wait
            }
        }
    });
    let also = [alarm.map(|_| quote!(, alarm)), outbound.map(|_| quote!(, outbound))];
    let also = also.into_iter().flatten();
    let export = quote!(::facetd_sdk::export!(#this #(#also)*););
    let alarm = alarm.map(|signature| {
        let wait = signature.asyncness.map(|_| quote!(.await));
        quote! {
            async fn alarm(&self, alarm: ::facetd_sdk::alarms::Alarm) -> ::facetd_sdk::Result<()> {
                <#this>::alarm(self, alarm) #wait
            }
        }
    });
    let outbound = outbound.map(|signature| {
        let wait = signature.asyncness.map(|_| quote!(.await));
        quote! {
            async fn outbound(
                &self,
                child: ::std::string::String,
                request: ::facetd_sdk::http::Request,
            ) -> ::facetd_sdk::Result<::facetd_sdk::http::Response> {
                <#this>::outbound(self, child, request) #wait
            }
        }
    });
    let names = methods.iter().map(|method| method.name.to_string());
    let arms = methods.iter().map(|method| method.dispatch(this));
    let stub = stub(&name, &quote!(pub), &methods);
    Ok(quote! {
        #block

        impl ::facetd_sdk::Facet for #this {
            async fn start() -> ::facetd_sdk::Result<Self> {
                #start
            }

            async fn call(
                &self,
                method: &str,
                args: ::facetd_sdk::Payload,
                stubs: ::std::vec::Vec<::facetd_sdk::Stub>,
            ) -> ::facetd_sdk::Result<::facetd_sdk::Answer> {
                match method {
                    #(#arms)*
                    _ => ::std::result::Result::Err(::facetd_sdk::no_such_method(method, &[#(#names),*])),
                }
            }

            #fetch

            #alarm

            #outbound
        }

        #export

        #stub
    })
}

fn stub_of_trait(item: &ItemTrait) -> Result<TokenStream> {
    let mut methods = Vec::new();
    for item in &item.items {
        if let TraitItem::Fn(function) = item {
            methods.push(Method::new(&function.sig, &function.attrs)?);
        }
    }
    let visibility = &item.vis;
    Ok(stub(&item.ident, &quote!(#visibility), &methods))
}

fn name_of(this: &Type) -> Result<Ident> {
    match this {
        Type::Path(path) => path.path.segments.last().map(|segment| segment.ident.clone()),
        _ => None,
    }
    .ok_or_else(|| Error::new(this.span(), "expected the name of a type"))
}

/// The type inside `Result` and true, or the whole type and false. By name, as a macro sees no types.
fn answer_of(output: &ReturnType) -> (Type, bool) {
    let ReturnType::Type(_, whole) = output else {
        return (syn::parse_quote!(()), false);
    };
    if let Type::Path(path) = &**whole {
        if let Some(segment) = path.path.segments.last().filter(|segment| segment.ident == "Result") {
            if let PathArguments::AngleBracketed(arguments) = &segment.arguments {
                if let Some(GenericArgument::Type(inner)) = arguments.args.first() {
                    return (inner.clone(), true);
                }
            }
        }
    }
    ((**whole).clone(), false)
}

impl Method {
    fn new(signature: &Signature, attributes: &[Attribute]) -> Result<Self> {
        if let Some(receiver) = signature.receiver() {
            if !matches!(receiver.kind, ReceiverKind::Reference(_, _, None)) {
                return Err(Error::new(
                    receiver.span(),
                    "methods of a facet take `&self`, because events interleave; keep state in `Cell` or `RefCell`",
                ));
            }
        }
        if !signature.generics.params.is_empty() {
            return Err(Error::new(
                signature.generics.span(),
                "a method that can be called cannot be generic",
            ));
        }
        let mut args = Vec::new();
        for input in &signature.inputs {
            let FnArg::Typed(input) = input else { continue };
            if let Type::Reference(reference) = &*input.ty {
                return Err(Error::new(
                    reference.span(),
                    "arguments come from outside: take an owned type",
                ));
            }
            let Pat::Ident(pattern) = &*input.pat else {
                return Err(Error::new(input.pat.span(), "an argument needs a name"));
            };
            args.push((pattern.ident.clone(), (*input.ty).clone()));
        }
        let (answer, fallible) = answer_of(&signature.output);
        Ok(Method {
            name: signature.ident.clone(),
            docs: attributes
                .iter()
                .filter(|attribute| attribute.path().is_ident("doc"))
                .cloned()
                .collect(),
            args,
            answer,
            is_async: signature.asyncness.is_some(),
            fallible,
        })
    }

    /// The arm that reads the arguments and calls the method.
    fn dispatch(&self, this: &Type) -> TokenStream {
        let (name, text) = (&self.name, self.name.to_string());
        let args: Vec<_> = (0..self.args.len()).map(|i| format_ident!("arg{i}")).collect();
        let types = self.args.iter().map(|(_, ty)| ty);
        let names = self.args.iter().map(|(name, _)| name.to_string());
        let wait = self.is_async.then(|| quote!(.await));
        let question = self.fallible.then(|| quote!(?));
        quote! {
            #text => {
                let (#(#args,)*) = ::facetd_sdk::__private::Args::read(
                    #text,
                    &[#(#names),*],
                    &args,
                    stubs,
                    |args| ::std::result::Result::Ok((#(args.next::<#types>()?,)*)),
                )?;
                ::facetd_sdk::Answer::json(&<#this>::#name(self, #(#args),*) #wait #question)
            }
        }
    }

    /// The method of the stub.
    fn stub(&self) -> TokenStream {
        let (name, docs, answer, text) = (&self.name, &self.docs, &self.answer, self.name.to_string());
        let args = self.args.iter().map(|(name, ty)| quote!(#name: #ty));
        let names: Vec<_> = self.args.iter().map(|(name, _)| name).collect();
        let list = if names.is_empty() {
            quote!(::facetd_sdk::NO_ARGS)
        } else {
            quote!(&(#(&#names,)*))
        };
        quote! {
            #(#docs)*
            pub async fn #name(&self, #(#args),*) -> ::facetd_sdk::Result<#answer> {
                self.0.call(#text, #list).await
            }
        }
    }
}

fn stub(name: &Ident, visibility: &TokenStream, methods: &[Method]) -> TokenStream {
    let stub = format_ident!("{name}Stub");
    let docs = format!("A stub whose methods are those of a `{name}`.");
    let methods = methods.iter().map(Method::stub);
    quote! {
        #[doc = #docs]
        #[derive(Clone, Debug, ::facetd_sdk::serde::Serialize, ::facetd_sdk::serde::Deserialize)]
        #[serde(crate = "::facetd_sdk::serde", transparent)]
        #visibility struct #stub(::facetd_sdk::Stub);

        // Not every facet calls others of its own class, or all methods of another one.
        #[allow(dead_code)]
        impl #stub {
            #(#methods)*
        }

        // Traits rather than methods, which could have the name of a method of the facet.
        impl ::std::convert::AsRef<::facetd_sdk::Stub> for #stub {
            fn as_ref(&self) -> &::facetd_sdk::Stub {
                &self.0
            }
        }

        impl ::std::convert::From<::facetd_sdk::Stub> for #stub {
            /// Nothing is checked: a method that is not there answers `no-such-method`.
            fn from(stub: ::facetd_sdk::Stub) -> Self {
                #stub(stub)
            }
        }
    }
}
